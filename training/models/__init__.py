"""Networks: encoders with one interface, a plain decoder, and the metric depth network made of both."""
