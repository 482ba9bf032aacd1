"""A small base model and drawn pictures, so that the first run works on any machine."""
