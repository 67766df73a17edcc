"""The backends, one file each; `kd_deploy.runtime.model.open_model` picks one by name."""
