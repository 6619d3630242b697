"""What is wrong with an installation, the first thing first, with its fix. Changes nothing."""
