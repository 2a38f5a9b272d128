"""Raw sources to a knowledge graph in Neo4j, and out again as a snapshot."""
