"""The data set: from folders of pictures to the batches of a pack."""
