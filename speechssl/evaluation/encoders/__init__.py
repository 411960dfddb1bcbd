"""Which encoders are compared, and those of other libraries behind our interface."""
