"""Random configs that can be trained on the small bases, drawn from the definitions of the parameters."""
