"""The choice: what each convolution costs, and which lowering it gets."""
