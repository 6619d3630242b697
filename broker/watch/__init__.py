"""The life of messages as steps, each with its source: who saw it. Changes nothing of them."""
