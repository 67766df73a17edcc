"""Distillation: the methods (one file a paper), their schedules, and the objective that sums them."""
