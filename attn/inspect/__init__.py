"""What a trained model computes, looked at from outside."""
