"""kd-deploy: from a big segmentation network to a small one that is proven on the device."""
