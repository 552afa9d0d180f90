"""A server of one model, spoken to as OpenAI's."""
