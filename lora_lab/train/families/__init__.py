"""The model families, one module each, behind one shape; the loop never asks which one it trains."""
