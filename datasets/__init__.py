"""What an episode is, and where episodes live: vocabulary, validation, store, readers, writers, feeds."""
