"""Local nodes: Pods as processes of this machine."""
