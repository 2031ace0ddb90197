"""Training the transferred models themselves: the truth that scores predict."""
