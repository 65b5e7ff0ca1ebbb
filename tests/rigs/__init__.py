"""What tests share: real servers and processes to test with, and models to compare with."""
