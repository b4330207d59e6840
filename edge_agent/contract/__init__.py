"""The contract as documents, generated from the message types: JSON Schema, AsyncAPI 3, one HTML page."""
