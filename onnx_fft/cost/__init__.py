"""What each convolution costs, which lowering it gets, and plans as files."""
