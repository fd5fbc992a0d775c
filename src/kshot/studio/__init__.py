"""The studio: a web page on which actions are taught and tried. A leaf: nothing imports it but its command."""
