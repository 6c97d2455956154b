"""What the real server fills into the built-in kinds when they are written."""
