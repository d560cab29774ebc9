"""A model behind OpenAI's API, or one that is compatible: requests, answers, and the model."""
