"""The networks: one interface over segmentation-models-pytorch, and where their weights come from."""
