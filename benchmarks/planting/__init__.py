"""Clean configs, and the 40 mistakes that people make most, planted into them."""
