"""The embedded data set, class lists, VOC annotations, a resize that moves."""
