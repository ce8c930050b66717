"""The matrix of runtimes: every lowering on every runtime, held against float64."""
