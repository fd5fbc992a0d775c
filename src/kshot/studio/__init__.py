"""The studio: a web page that trains a model on clips and tries it. A leaf: nothing imports it but its command."""
