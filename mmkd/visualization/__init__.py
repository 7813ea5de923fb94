"""Pictures of what a distillation does."""
