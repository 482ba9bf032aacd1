"""What runs tell, kept on disk first and shipped to MLflow from there."""
