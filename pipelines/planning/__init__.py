"""Planning: recipe and store to a plan, and the fits that it needs. Nothing here measures, decides or commits."""
