"""Long videos and cameras: windows over time, the timeline, watching."""
