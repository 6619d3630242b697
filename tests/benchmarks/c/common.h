/* What the two C programs share: a connection by librabbitmq to the BROKER_URL, with one channel. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <amqp.h>
#include <amqp_tcp_socket.h>

static void fail(const char *what) {
    fprintf(stderr, "the C contestant cannot go on: %s\n", what);
    exit(1);
}

static void check(amqp_rpc_reply_t reply, const char *what) {
    if (reply.reply_type != AMQP_RESPONSE_NORMAL) fail(what);
}

static amqp_connection_state_t connected(void) {
    char *url = strdup(getenv("BROKER_URL"));
    struct amqp_connection_info info;
    amqp_default_connection_info(&info);
    if (amqp_parse_url(url, &info) != AMQP_STATUS_OK || info.ssl) fail("BROKER_URL is not understood");
    amqp_connection_state_t link = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(link);
    if (amqp_socket_open(socket, info.host, info.port)) fail("nobody listens");
    check(amqp_login(link, info.vhost, 1, 131072, 0, AMQP_SASL_METHOD_PLAIN, info.user, info.password), "login");
    amqp_channel_open(link, 1);
    check(amqp_get_rpc_reply(link), "channel.open");
    return link;
}

/* The next frame, waiting for it. */
static amqp_frame_t next_frame(amqp_connection_state_t link) {
    amqp_frame_t frame;
    amqp_maybe_release_buffers(link);
    if (amqp_simple_wait_frame(link, &frame) != AMQP_STATUS_OK) fail("the connection is lost");
    return frame;
}

/* Skip the body of a delivery; its properties are decoded by the library. */
static amqp_basic_properties_t *content(amqp_connection_state_t link) {
    amqp_frame_t frame;
    if (amqp_simple_wait_frame(link, &frame) != AMQP_STATUS_OK || frame.frame_type != AMQP_FRAME_HEADER)
        fail("a delivery without a header");
    amqp_basic_properties_t *properties = frame.payload.properties.decoded;
    uint64_t left = frame.payload.properties.body_size;
    while (left > 0) {
        if (amqp_simple_wait_frame(link, &frame) != AMQP_STATUS_OK) fail("the connection is lost");
        left -= frame.payload.body_fragment.len;
    }
    return properties;
}
