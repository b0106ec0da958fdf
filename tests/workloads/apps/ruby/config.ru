require_relative "hop"

run Hop
