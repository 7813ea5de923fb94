"""Pictures that show what a distillation does."""
