require "json"
require "net/http"
require "sinatra/base"

# The common contract on Sinatra: Puma gives each request a blocking thread.
class Hop < Sinatra::Base
  SERVICE = ENV.fetch("SERVICE", "sinatra")
  set :environment, :production

  helpers do
    def answer(id, **more)
      content_type :json
      { service: SERVICE, pid: Process.pid, id: id, **more }.to_json
    end
  end

  get "/hop/:id" do |id|
    first, rest = params.fetch("via", "").split(",", 2)
    return answer(id, next: nil) unless first

    uri = URI("#{first}/hop/#{id}")
    uri.query = URI.encode_www_form(via: rest) if rest
    response = Net::HTTP.get_response(uri)
    halt 502 unless response.is_a?(Net::HTTPOK)
    answer(id, next: JSON.parse(response.body))
  end

  get "/slow/:ms/:id" do |ms, id|
    sleep ms.to_i / 1000.0
    answer(id, next: nil)
  end

  get "/fail/:id" do |id|
    status 500
    answer(id, next: nil)
  end

  get "/body/:size/:id" do |size, _id|
    content_type "application/octet-stream"
    "x" * size.to_i
  end

  get "/chunked/:size/:id" do |size, _id|
    content_type "application/octet-stream"
    left = size.to_i
    stream do |out|
      while left.positive?
        out << "x" * [left, 1000].min
        left -= 1000
      end
    end
  end

  post "/upload/:id" do |id|
    answer(id, received: request.body.read.bytesize)
  end
end
