require "json"
require "sinatra/base"

# How many of a product are left.
class Stock < Sinatra::Base
  set :environment, :production

  get "/stock/:product" do |product|
    content_type :json
    { left: product.to_i * 7 % 23 }.to_json
  end
end

run Stock
