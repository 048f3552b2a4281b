"""What a census costs the process it is taken of."""
