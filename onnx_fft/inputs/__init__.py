"""What models are run on: shapes, random and given inputs, and recorded tensors."""
