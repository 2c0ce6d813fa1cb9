"""The graph of a network: symbolic values, the `torch.fx` graph made from them, and the model file."""
