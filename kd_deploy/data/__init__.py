"""The data sets: labelled frames by index, and the stream of training batches made of them."""
