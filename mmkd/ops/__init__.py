"""Pure functions on tensors: the formulas, without registry or modules."""
