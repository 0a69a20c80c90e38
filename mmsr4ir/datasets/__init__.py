"""The embedded data set, class lists, VOC annotations, the note of a resize."""
