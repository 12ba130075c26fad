// TLS and HTTP/3 peers by Go's crypto/tls and quic-go.
//
// tls-server CERTIFICATE KEY, quic-server CERTIFICATE KEY: say their port on a line and answer what comes.
// tls-client ADDRESS, quic-client ADDRESS: one request each.
package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

const (
	host = "10.83.0.2"
	name = "shop.weir.test"
)

func main() {
	mode, arguments := os.Args[1], os.Args[2:]
	switch mode {
	case "tls-server":
		config := serverConfig(arguments, "h2", "http/1.1")
		listener, err := net.Listen("tcp", host+":0")
		check(err)
		fmt.Println(listener.Addr().(*net.TCPAddr).Port)
		server := http.Server{Handler: http.HandlerFunc(answer), TLSConfig: config}
		check(server.ServeTLS(listener, "", ""))
	case "quic-server":
		config := serverConfig(arguments, http3.NextProtoH3)
		connection, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(host)})
		check(err)
		fmt.Println(connection.LocalAddr().(*net.UDPAddr).Port)
		server := http3.Server{Handler: http.HandlerFunc(answer), TLSConfig: config}
		check(server.Serve(connection))
	case "tls-client":
		get(arguments[0], &http.Transport{TLSClientConfig: clientConfig(), ForceAttemptHTTP2: true,
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, arguments[0])
			}})
	case "quic-client":
		transport := &http3.Transport{TLSClientConfig: clientConfig(),
			Dial: func(ctx context.Context, _ string, tlsConfig *tls.Config, config *quic.Config) (*quic.Conn, error) {
				return quic.DialAddrEarly(ctx, arguments[0], tlsConfig, config)
			}}
		defer transport.Close()
		get(arguments[0], transport)
	default:
		panic("no mode " + mode)
	}
}

func serverConfig(arguments []string, protocols ...string) *tls.Config {
	own, err := tls.LoadX509KeyPair(arguments[0], arguments[1])
	check(err)
	return &tls.Config{Certificates: []tls.Certificate{own}, NextProtos: protocols}
}

func clientConfig() *tls.Config {
	return &tls.Config{ServerName: name, InsecureSkipVerify: true}
}

func answer(response http.ResponseWriter, request *http.Request) {
	io.WriteString(response, "goods")
}

func get(address string, transport http.RoundTripper) {
	_, port, err := net.SplitHostPort(address)
	check(err)
	response, err := (&http.Client{Transport: transport}).Get("https://" + name + ":" + port + "/")
	check(err)
	body, err := io.ReadAll(response.Body)
	check(err)
	if string(body) != "goods" {
		panic(string(body))
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
