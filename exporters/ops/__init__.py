"""What a graph consists of: operators read from a file or traced from modules, their cost, and where they can run."""
