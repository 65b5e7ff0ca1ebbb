"""The log on Apache Kafka: one topic."""
