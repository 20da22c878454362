"""Speed of offline learners, beside other libraries."""
