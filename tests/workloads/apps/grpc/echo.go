// gRPC on both ends: `echo serve`, or `echo call <host:port> <tag> <workers> <rounds> <certificate>`, which calls
// what client.py calls.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func main() {
	if os.Args[1] == "serve" {
		serve()
	}
	call(os.Args[2], os.Args[3], number(os.Args[4]), number(os.Args[5]), os.Args[6])
}

// bytes are messages as they are.
type bytes struct{}

func (bytes) Marshal(v interface{}) ([]byte, error) { return *v.(*[]byte), nil }
func (bytes) Unmarshal(data []byte, v interface{}) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}
func (bytes) Name() string   { return "bytes" }
func (bytes) String() string { return "bytes" }

func serve() {
	options := []grpc.ServerOption{grpc.CustomCodec(bytes{}), grpc.UnknownServiceHandler(echo)}
	if key := os.Getenv("KEY"); key != "" {
		keys, err := credentials.NewServerTLSFromFile(os.Getenv("CERTIFICATE"), key)
		if err != nil {
			log.Fatal(err)
		}
		options = append(options, grpc.Creds(keys))
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(os.Getenv("HOST"), os.Getenv("PORT")))
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(grpc.NewServer(options...).Serve(listener))
}

func echo(_ interface{}, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	parts := strings.Split(method[strings.LastIndex(method, "/")+1:], "-")
	argument := number(parts[1])
	var message []byte
	switch parts[0] {
	case "Hop":
		if err := stream.RecvMsg(&message); err != nil {
			return err
		}
		answer, err := hop(stream.Context(), method)
		if err != nil {
			return err
		}
		return stream.SendMsg(&answer)
	case "Unary", "Download":
		if err := stream.RecvMsg(&message); err != nil {
			return err
		}
		count := 1
		if parts[0] == "Download" {
			count = argument
		}
		for i := 0; i < count; i++ {
			if err := stream.SendMsg(&message); err != nil {
				return err
			}
		}
		return nil
	case "Upload", "Talk":
		count := 0
		for stream.RecvMsg(&message) == nil {
			count++
			if parts[0] == "Talk" {
				if err := stream.SendMsg(&message); err != nil {
					return err
				}
			}
		}
		if parts[0] == "Upload" {
			answer := []byte(strconv.Itoa(count))
			return stream.SendMsg(&answer)
		}
		return nil
	case "Fail":
		if err := stream.RecvMsg(&message); err != nil {
			return err
		}
		return status.Error(codes.Code(argument), "as asked")
	case "Deadline", "Cancel":
		<-stream.Context().Done()
		return status.FromContextError(stream.Context().Err()).Err()
	}
	return status.Error(codes.Unimplemented, method)
}

// hop answers as README.md says, and goes on along the metadata `via`.
func hop(ctx context.Context, method string) ([]byte, error) {
	id, _, _ := strings.Cut(method[1:], ".")
	told := map[string]interface{}{"service": os.Getenv("SERVICE"), "pid": os.Getpid(), "id": id, "next": nil}
	given, _ := metadata.FromIncomingContext(ctx)
	first, others, _ := strings.Cut(strings.Join(given.Get("via"), ","), ",")
	if first != "" {
		channel, err := channel(first)
		if err != nil {
			return nil, err
		}
		onward := context.Background()
		if others != "" {
			onward = metadata.AppendToOutgoingContext(onward, "via", others)
		}
		var next []byte
		if err := channel.Invoke(onward, method, &[]byte{}, &next); err != nil {
			return nil, err
		}
		told["next"] = json.RawMessage(next)
	}
	return json.Marshal(told)
}

var (
	channels = map[string]*grpc.ClientConn{}
	lock     sync.Mutex
)

// channel is the one connection to a base URL; its certificate is not looked at.
func channel(base string) (*grpc.ClientConn, error) {
	lock.Lock()
	defer lock.Unlock()
	if found := channels[base]; found != nil {
		return found, nil
	}
	scheme, address, _ := strings.Cut(base, "://")
	secure := grpc.WithInsecure()
	if scheme == "https" {
		secure = grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{InsecureSkipVerify: true}))
	}
	made, err := grpc.Dial(address, secure, grpc.WithNoProxy(), grpc.WithDefaultCallOptions(grpc.ForceCodec(bytes{})))
	if err == nil {
		channels[base] = made
	}
	return made, err
}

func call(address, tag string, workers, rounds int, certificate string) {
	secure := grpc.WithInsecure()
	if certificate != "" {
		keys, err := credentials.NewClientTLSFromFile(certificate, "")
		if err != nil {
			log.Fatal(err)
		}
		secure = grpc.WithTransportCredentials(keys)
	}
	channel, err := grpc.Dial(address, secure, grpc.WithDefaultCallOptions(grpc.ForceCodec(bytes{})))
	if err != nil {
		log.Fatal(err)
	}
	background := context.Background()
	first := "/" + tag + ".Echo/Unary-0-first-0"
	expect(codes.OK, 1)(exchange(background, channel, first, 1))
	fmt.Println("connected")
	bufio.NewReader(os.Stdin).ReadString('\n')
	expect(codes.OK, 1)(exchange(background, channel, first, 1))
	var wait sync.WaitGroup
	for worker := 0; worker < workers; worker++ {
		worker := worker
		wait.Add(1)
		go func() {
			defer wait.Done()
			for i := 0; i < rounds; i++ {
				method := func(kind string, argument int) string {
					return fmt.Sprintf("/%s.Echo/%s-%d-%d-%d", tag, kind, argument, worker, i)
				}
				expect(codes.OK, 1)(exchange(background, channel, method("Unary", 0), 1))
				expect(codes.OK, 3)(exchange(background, channel, method("Download", 3), 1))
				expect(codes.OK, 1)(exchange(background, channel, method("Upload", 4), 4))
				expect(codes.OK, 2)(exchange(background, channel, method("Talk", 2), 2))
				expect(codes.NotFound, 0)(exchange(background, channel, method("Fail", 5), 1))
				expect(codes.Internal, 0)(exchange(background, channel, method("Fail", 13), 1))
				if i == 0 {
					limited, cancel := context.WithTimeout(background, 100*time.Millisecond)
					expect(codes.DeadlineExceeded, 0)(exchange(limited, channel, method("Deadline", 0), 1))
					cancel()
					given, cancel := context.WithCancel(background)
					time.AfterFunc(50*time.Millisecond, cancel)
					expect(codes.Canceled, 0)(exchange(given, channel, method("Cancel", 0), 1))
				}
			}
		}()
	}
	wait.Wait()
	channel.Close()
}

// exchange sends so many messages and gives the count of answers.
func exchange(ctx context.Context, channel *grpc.ClientConn, method string, count int) (int, error) {
	both := grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	stream, err := channel.NewStream(ctx, &both, method)
	if err != nil {
		return 0, err
	}
	message := []byte(strings.Repeat("m", 100))
	for i := 0; i < count; i++ {
		if err := stream.SendMsg(&message); err != nil {
			break
		}
	}
	stream.CloseSend()
	for answers := 0; ; answers++ {
		if err := stream.RecvMsg(&message); err == io.EOF {
			return answers, nil
		} else if err != nil {
			return answers, err
		}
	}
}

func expect(code codes.Code, answers int) func(int, error) {
	return func(found int, err error) {
		if status.Code(err) != code || found != answers {
			log.Fatalf("%v and %d answers, expected %v and %d", err, found, code, answers)
		}
	}
}

func number(text string) int {
	value, err := strconv.Atoi(text)
	if err != nil {
		log.Fatal(err)
	}
	return value
}
