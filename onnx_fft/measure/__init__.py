"""The measured choice: time each convolution's options on this machine, then the whole model, and keep what pays."""
