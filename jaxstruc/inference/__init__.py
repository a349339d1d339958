"""What data say: fits of clusters, weights of candidates, results."""
