"""FakeAPIServer."""
