"""The trained model that ships, with its card."""
