"""What makes the real server refuse an object of a built-in kind."""
