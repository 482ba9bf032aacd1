"""Base models as people have them: a folder of diffusers, one file of the original layout, a name on the hub."""
